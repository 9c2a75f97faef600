"""SGLang on a machine without a GPU: a tiny model, output-length replay, a server launcher.

Used by the tests and the demo, never part of the wheel. Put ``scripts/`` on ``sys.path`` and::

    from cpu_engine.make_model import make_model
    from cpu_engine.server import EngineServer

    with EngineServer(make_model(), ["--max-running-requests", "8"]) as server:
        ...  # requests to server.url
"""
