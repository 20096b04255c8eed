"""Pictures become a run: a trained Keras model, its figures, and a report. Any Keras backend will do."""
