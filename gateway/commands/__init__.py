"""What each command does. A command returns its exit status; tables for people, JSON for scripts."""
