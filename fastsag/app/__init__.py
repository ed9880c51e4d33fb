"""A web page and an HTTP API over the pipeline.

limits, problems   what is refused, and how that is said
jobs               one heavy job at a time, a bounded queue, cancellation, a time limit
service            the warm checkpoints: a voice and an order in, a result folder out
results, shelf     what a result holds; results that wait for their listener
api, guard         HTTP: routes and errors; sizes, hosts and headers
page, blocks, view what the page does, its layout, its HTML; `static/` has player and style
gate               what of gradio's protocol is let through
server             puts them together
client             a client in one file that needs the standard library alone
"""
