"""The mgr5 wire protocol that DCImanager, IPmanager and BILLmanager share.

transport   one POST: TLS, deadline, body limit, what an error means for a read and for a write
documents   XML and JSON answers as one small tree
errors      error documents as exceptions
lists       rows, and whether "not in the list" may be believed
client      login, calls, forms, coalesced lists
"""
