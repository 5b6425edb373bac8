"""Sketch service: a face photo in, a clean line drawing out (dark lines on white)."""
