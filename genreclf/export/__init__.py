"""Export a trained model together with its feature extraction as one file: ONNX, or a torch.export program."""
