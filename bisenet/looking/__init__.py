"""Pictures of what a network sees and does: activation maps, scenes, drawings of the architecture, an explorer."""
