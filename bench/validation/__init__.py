"""The parts of ``bench/validate_replay.py``."""
