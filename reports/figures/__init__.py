"""The report's drawings: values with their intervals in, a Figure with its data and a description out."""
