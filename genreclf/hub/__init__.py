"""Share trained models on the Hugging Face Hub, as safetensors with their configuration and scores."""
