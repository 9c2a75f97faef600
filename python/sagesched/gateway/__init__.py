"""`sagesched route`: one address for several SGLang servers, SAL or another chooser behind it.

`cli.py` starts it, `app.py` has the routes. A request passes `inference.py` (its life from body to
last byte), `admission.py` (bounded), `expected.py` (predicted length, where a predictor is asked)
and `upstream.py` (HTTP to a server). `fleet.py` polls loads and health and owns the chooser;
`targets.py` says where a replica's requests go: to itself, or to SGLang's gateway with a header.
`descriptors.py` sees to it that there are file descriptors, or says that there are none.
"""
