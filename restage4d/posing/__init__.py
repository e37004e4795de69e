"""Posing a puppet by hand: its points as a graph, and bases that follow a place that is pulled.

numpy only, for it runs in Blender.
"""
