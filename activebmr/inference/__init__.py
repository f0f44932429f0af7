"""Ways of believing."""
