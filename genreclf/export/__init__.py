"""A trained model as one file that hears waveforms: ONNX, or a program of torch.export."""
