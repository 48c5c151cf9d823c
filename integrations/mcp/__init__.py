"""
Servers of the Model Context Protocol whose tools scripts may call: `app.mcp.<server>.<tool>{...}`.

A tool is callable when the operator configured its server and trusted the list of its tools; a
list that is another than the trusted one makes every tool of the server uncallable.
"""
