"""MT-Bench by single-answer grading: questions, answers, judge, scores."""
