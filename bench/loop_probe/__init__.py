"""Looks into a real server's tokenizer process: what our hooks cost its event loop.

``launch.py`` takes the place of ``sglang.launch_server``; ``load.py`` is the client.
"""
