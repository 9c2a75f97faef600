"""`sagesched predictor serve`: the plug-in's predictor behind HTTP, for gateways and routers.

`cli.py` starts it, `app.py` has the routes, `schema.py` what they take and answer, `engine.py` is
the only file that knows the predictor, `answer.py` turns a distribution into the answer's fields,
`guard.py` stands before all routes: token, size of bodies, what fails unexpectedly.
"""
