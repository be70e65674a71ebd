"""Share trained models on the Hugging Face hub, as safetensors with their configuration and scores."""
