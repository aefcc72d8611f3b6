"""From records to tables, verdicts, charts, and the page of results."""
