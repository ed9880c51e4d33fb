"""A web page and an HTTP API over the pipeline.

limits, problems   what is refused, and how that is said
jobs               one heavy job at a time, a bounded queue, cancellation, a time limit
service            the warm checkpoints: a voice and an order in, a result folder out
shelf              results that wait for their listener, in private folders
api, guard         HTTP: routes and errors; sizes, hosts and headers
page, view         the page; `static/` has its player and style
server             puts them together
client             a client in one file that needs the standard library alone
"""
