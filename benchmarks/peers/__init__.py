"""genreclf against autrainer, Hugging Face's Trainer and a plain Lightning script."""
