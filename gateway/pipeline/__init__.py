"""From raw numbers to honest readings: scale, sentinel, range, counter logic, time, mark; and the fan-out."""
