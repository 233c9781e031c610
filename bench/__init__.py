"""Speed, measured as ratios against the raw module call of the same run."""
