"""What only the lessons need: predictions and answers, the museum of faults, the capstone's missions."""
