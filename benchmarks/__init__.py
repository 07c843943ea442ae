"""benchmarks: one module per question, run as `python -m benchmarks.NAME`; may import anything, is imported by nothing."""
