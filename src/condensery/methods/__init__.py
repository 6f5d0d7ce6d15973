"""What methods choose from: formations, objectives, supplies, augmentations and pools."""
