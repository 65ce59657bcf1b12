"""Policies: where the student decodes during rollouts, and how it gets the trainer's current weights.

base.py   what every policy offers
live.py   the weights in this process, which the trainer and the student's engine use in turn
"""
