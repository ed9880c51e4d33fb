"""The listening test of the paper (Table 3): a plan, a page, and what its ratings say."""
