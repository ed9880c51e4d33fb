"""A stage's language model: transformers' Llama decoder, its loss and its sampling.

Llama has what the reference's decoder has in other words: multi-query attention (one key-value
head), gated feed-forward layers, pre-norm. Positions are rotary where the reference learns a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.baselines.singsong.config import TransformerConfig
from fastsag.baselines.singsong.layout import Block, Layout, prompt, unpack
from fastsag.errors import require

Tick = Callable[[int], None]  # tokens made


class StageModel(nn.Module):
    """Ids -> next ids within one `Layout`.

    One embedding and one output matrix serve all ranges; a position sees only the rows of its own
    quantiser, which makes them separate heads.

    Args:
        config: size.
        layout: of the stage.
        positions: the longest sequence.
    """

    def __init__(self, config: TransformerConfig, layout: Layout, positions: int) -> None:
        super().__init__()
        transformers = require("transformers", extra="singsong")
        self.layout, self.config = layout, config
        self.llama: Any = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=layout.vocabulary,
                hidden_size=config.width,
                intermediate_size=config.hidden,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                head_dim=config.head_size,
                num_key_value_heads=config.key_value_heads,
                max_position_embeddings=positions,
                attn_implementation="sdpa",
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.llama.generation_config.eos_token_id = None
        for layer in self.llama.model.layers:
            layer.mlp.down_proj.register_forward_pre_hook(self._drop)

    @property
    def core_parameters(self) -> int:
        """Parameters of the decoder without embeddings and heads."""
        return sum(value.numel() for value in self.llama.model.layers.parameters())

    def _drop(self, module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        """Dropout inside the feed-forward layers, which Llama lacks."""
        return (F.dropout(arguments[0], self.config.ff_dropout, self.training),)

    def loss(self, ids: Tensor, given_frames: int) -> Tensor:
        """Mean cross-entropy over the wanted block and its eos, nothing else.

        Args:
            ids: whole sequences (B, P) of one length.
            given_frames: L of what is given.
        """
        embedded = self.llama.model.embed_tokens(ids[:, :-1])
        shrink = self.config.grad_shrink
        embedded = embedded * shrink + embedded.detach() * (1 - shrink)
        mask = None
        if self.training and self.config.forget:
            mask = torch.rand(embedded.shape[:2], device=ids.device) >= self.config.forget
            mask[:, 0] = True  # a softmax over nothing is not a number
        states = self.llama.model(
            inputs_embeds=embedded, attention_mask=None if mask is None else mask.long()
        ).last_hidden_state
        first = given_frames * self.layout.given.codebooks + 3  # of the wanted block
        block = self.layout.wanted
        steps = states[:, first - 1 : -1].unflatten(1, (-1, block.codebooks))
        codes = unpack(block, ids[:, first:-1])
        weight = self.llama.lm_head.weight
        total = states.new_zeros(())
        for quantiser in range(block.codebooks):
            state, target = steps[:, :, quantiser], codes[..., quantiser]
            rows = [weight[block.codes(quantiser)[0] : block.codes(quantiser)[-1] + 1]]
            if quantiser == 0:  # where a frame may begin, the sequence may end
                rows.append(weight[block.eos : block.eos + 1])
                state = torch.cat([state, states[:, -1:]], dim=1)
                target = F.pad(target, (0, 1), value=block.size)
            logits = state @ torch.cat(rows).T
            total = total + F.cross_entropy(
                logits.flatten(0, 1).float(), target.flatten(), reduction="sum"
            )
        return total / (codes.numel() + len(ids))

    @torch.inference_mode()
    def generate(
        self,
        given: Tensor,
        frames: int,
        *,
        known: Tensor | None = None,
        temperature: float = 1.0,
        top_k: float = 0.1,
        seed: int = 0,
        cache: bool = True,
        tick: Tick | None = None,
    ) -> Tensor:
        """Codes of the wanted block, sampled token by token.

        Args:
            given: codes (B, L, Q).
            frames: L', how many frames there shall be, the known ones included.
            known: (B, l, Q'), the first of them.
            temperature: of the softmax.
            top_k: share of a quantiser's outputs (its codes and eos) that is sampled from.
            seed: of the sampling; the global generator is left as it was.
            cache: keep keys and values; without, every token computes the whole sequence again.
            tick: told of the tokens made so far.

        Returns:
            (B, L', Q').
        """
        block = self.layout.wanted
        start = prompt(self.layout, given, known)
        already = 0 if known is None else known.shape[1]
        count = (frames - already) * block.codebooks
        if count <= 0:
            assert known is not None
            return known[:, :frames]
        with torch.random.fork_rng(devices=[] if start.device.type == "cpu" else None):
            torch.manual_seed(seed)
            ids = self.llama.generate(
                start,
                attention_mask=torch.ones_like(start),
                max_new_tokens=count,
                min_new_tokens=None,
                do_sample=True,
                temperature=temperature,
                top_k=max(1, int(top_k * (block.size + 1))),
                top_p=1.0,
                use_cache=cache,
                logits_processor=[QuantiserRange(block, start.shape[1], tick)],
            )
        made = unpack(block, ids[:, start.shape[1] :])
        return made if known is None else torch.cat([known.to(made), made], dim=1)


class QuantiserRange:
    """A logits processor: only the codes of the quantiser whose turn it is; never eos."""

    def __init__(self, block: Block, prompt_length: int, tick: Tick | None = None) -> None:
        self.block, self.prompt_length, self.tick = block, prompt_length, tick

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        done = input_ids.shape[1] - self.prompt_length
        if self.tick:
            self.tick(done)
        codes = self.block.codes(done % self.block.codebooks)
        allowed = torch.full_like(scores, -torch.inf)
        allowed[:, codes.start : codes.stop] = scores[:, codes.start : codes.stop]
        return allowed
