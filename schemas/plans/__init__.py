"""Plans and studies: what is asked, and the answers."""
