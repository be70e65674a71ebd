"""Export a trained model, with its features, as one file: ONNX, or a program of torch.export."""
