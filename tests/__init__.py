"""Tests; ``scripts/test`` runs them all."""
