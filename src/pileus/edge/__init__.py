"""The edge: what stands between anybody's connection and a request (docs/security.md, "The edge").

doors       who may connect, how often; TLS
connection  one client's connection: deadlines for its header, and for taking what it is sent
gateway     a whole body, then a thread that answers; nothing slow keeps a thread waiting
wsgi        between ASGI and the WSGI application
forwarding  which headers of a proxy count
places      so much there is of something, and so much one client gets
rates       how many requests an address may make
certificate a self-signed certificate
serving     the loop that all of it runs in
"""
