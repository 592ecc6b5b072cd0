"""Plans and routes: who gets which traffic, and how that changes."""
