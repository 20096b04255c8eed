"""Trainings from pictures to production: what was ordered, how each stands, who carries it out."""
