"""Audio encoders with networks from the package transformers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.errors import UserError, require
from genreclf.limits import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.hub import hub_weights
from genreclf.models.encoders.weights import checked, file_of
from genreclf.run_directory import reason_of


@dataclass(frozen=True)
class Architecture:
    """How to build one architecture of transformers, feed it with waveforms and read the outputs of its layers."""

    config: str
    """Name of the configuration class in transformers, which has the sizes of the network."""
    network: str
    """Name of the model class in transformers, after the name of its module."""
    features: str
    """Name of the feature extractor class in transformers, which computes the network's input from waveforms."""
    settings: Mapping[str, Any]
    """Arguments of the feature extractor: values, or names of the sizes that are used as values."""
    prefix: str
    """Prefix of the names of the network's tensors in files that contain more than the network."""
    to_frames: Callable[[Tensor, Any, int, int], Tensor]
    """Function from a layer's output, sizes, number of samples and sample rate to ``(batch, frame, dimension)``."""
    blocks: Callable[[Any], list[nn.Module]]
    """Function that returns the parts of the network, from input to output."""
    longest_s: Callable[[Any], float | None] = lambda sizes: None
    """Function from the sizes to the length in seconds at which waveforms are cut off, or None if there is no limit."""


def _mean_of_bands(layer: Tensor, sizes: Any, samples: int, rate: int) -> Tensor:
    """Average the patches at the same time over the bands; patches that contain only padding are left out.

    The first two tokens, which stand for the whole input, are left out as well.
    """
    bands = (sizes.num_mel_bins - sizes.patch_size) // sizes.frequency_stride + 1
    patches = layer[:, 2:]
    window, hop = rate // 40, rate // 100
    spectra = 1 + (samples - window) // hop
    by_time = patches.reshape(len(patches), bands, -1, patches.shape[2]).mean(1)
    return by_time[:, : max(1, math.ceil(spectra / sizes.time_stride))]


def _without_padding(layer: Tensor, sizes: Any, samples: int, rate: int) -> Tensor:
    """Remove the frames that pad the input to 30 seconds; a frame spans two hops of 160 samples."""
    return layer[:, : max(1, math.ceil(samples / 320))]


def _over_time(layer: Tensor, *_: Any) -> Tensor:
    """Average the output over mel bands and frames, which the network has folded into each other, into one frame."""
    return layer.flatten(2).mean(2)[:, None] if layer.ndim == 4 else layer.mean(1, keepdim=True)


def _convolutions_first(network: Any) -> list[nn.Module]:
    encoder = network.encoder
    first = [network.feature_extractor, network.feature_projection, encoder.pos_conv_embed, encoder.layer_norm]
    return [nn.ModuleList(first), *encoder.layers]


def _embeddings_first(network: Any) -> list[nn.Module]:
    *layers, last = network.layers
    return [network.embeddings, *layers, nn.ModuleList([last, network.layernorm])]


def _whisper_blocks(network: Any) -> list[nn.Module]:
    *layers, last = network.layers
    return [nn.ModuleList([network.conv1, network.conv2]), *layers, nn.ModuleList([last, network.layer_norm])]


def _clap_blocks(network: Any) -> list[nn.Module]:
    encoder = network.audio_encoder
    *layers, last = encoder.layers
    first = nn.ModuleList([encoder.batch_norm, encoder.patch_embed])
    return [first, *layers, nn.ModuleList([last, encoder.norm])]


LARGEST_SIZE, DEEPEST, LARGEST_NETWORK = 2**18, 200, 2**31
"""Upper limits of any number among the sizes, of the number of layers, and of the number of a network's weights."""

SHORTEST_S = 0.05
"""Length in seconds to which shorter waveforms are padded with zeros, since networks have no output for them."""

LONGEST_WINDOW_S = 300
"""Largest length in seconds of the windows of a waveform that are embedded."""

_WAV2VEC2 = Architecture(
    config="Wav2Vec2Config",
    network="wav2vec2.modeling_wav2vec2.Wav2Vec2Model",
    features="Wav2Vec2FeatureExtractor",
    settings={"do_normalize": True, "return_attention_mask": False},
    prefix="wav2vec2.",
    to_frames=lambda layer, *_: layer,
    blocks=_convolutions_first,
)
ARCHITECTURES = {
    "wav2vec2": _WAV2VEC2,
    "hubert": replace(_WAV2VEC2, config="HubertConfig", network="hubert.modeling_hubert.HubertModel", prefix="hubert."),
    "ast": Architecture(
        config="ASTConfig",
        network="audio_spectrogram_transformer.modeling_audio_spectrogram_transformer.ASTModel",
        features="ASTFeatureExtractor",
        settings={"num_mel_bins": "num_mel_bins", "max_length": "max_length"},
        prefix="audio_spectrogram_transformer.",
        to_frames=_mean_of_bands,
        blocks=_embeddings_first,
        longest_s=lambda sizes: sizes.max_length / 100,
    ),
    "whisper": Architecture(
        config="WhisperConfig",
        network="whisper.modeling_whisper.WhisperEncoder",
        features="WhisperFeatureExtractor",
        settings={"feature_size": "num_mel_bins"},
        prefix="model.encoder.",
        to_frames=_without_padding,
        blocks=_whisper_blocks,
        longest_s=lambda sizes: 30.0,
    ),
    "clap": Architecture(
        config="ClapAudioConfig",
        network="clap.modeling_clap.ClapAudioModel",
        features="ClapFeatureExtractor",
        settings={
            **{"feature_size": "num_mel_bins", "frequency_min": 50, "frequency_max": 14000},
            **{"truncation": "rand_trunc", "padding": "repeatpad"},
        },
        prefix="audio_model.",
        to_frames=_over_time,
        blocks=_clap_blocks,
        longest_s=lambda sizes: 10.0,
    ),
}
"""Architectures by their names in the configuration."""


def _check_sizes(config: Any, sizes: Mapping[str, Any]) -> None:
    """Check that `sizes`, which may come from somebody else's run, contains only sizes of a network, within limits.

    transformers accepts other keys as well, such as a repository with code that computes the attention.

    Raises:
        ValueError: A key is not the name of a size, or a value is not a valid size.
    """
    from transformers import PretrainedConfig

    known = vars(config()).keys() - vars(PretrainedConfig()).keys()
    for key, value in sizes.items():
        largest = DEEPEST if "layers" in key else LARGEST_SIZE
        for entry in value if isinstance(value, list | tuple) else [value]:
            fits = abs(entry) <= largest if isinstance(entry, int | float) else str(entry).isidentifier()
            if key not in known or not fits:
                raise ValueError(f"sizes.{key}={value} is not a size of {config.__name__}")


class TransformersEncoder(Encoder):
    """A network of the package transformers, with weights, but no code, from the Hugging Face Hub.

    The first entry of `layers` is the input of the network's first layer, and the others are the outputs of all layers.
    CLAP's outputs are averaged over the waveform.

    Args:
        architecture: Name of the architecture, one of `ARCHITECTURES`.
        repo: Repository of the weights on the hub.
        sample_rate: Sample rate of the waveforms in Hz.
        window_s: Length in seconds of the windows that are embedded.
        sizes: Sizes of the network that differ from the defaults of its configuration class in transformers.
        **origin: Arguments passed on to `Encoder`; `weights` is a safetensors file, which is downloaded from the hub by
            default.

    Raises:
        UserError: transformers is not installed.
        ValueError: `architecture` does not exist, a number is out of range, or `sizes` contains anything but sizes.
    """

    sample_rate: int = 16000
    is_torch = False
    fills_up = True

    def __init__(
        self,
        *,
        architecture: str,
        repo: str,
        sample_rate: int = 16000,
        window_s: float = 5.0,
        sizes: Mapping[str, Any] | None = None,
        **origin: Unpack[Origin],
    ) -> None:
        super().__init__(**origin)
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}")
        if not (0.1 <= window_s <= LONGEST_WINDOW_S and LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ):
            raise ValueError(f"window_s must be 0.1 to {LONGEST_WINDOW_S}, sample_rate 1 kHz to 1 MHz")
        require(f"An encoder of architecture {architecture}", "transformers", "transformers")
        self.name, self.repo, self.kind = architecture, repo, ARCHITECTURES[architecture]
        self.sample_rate, self.window_s, self.hop_s = sample_rate, window_s, window_s
        with torch.device("cpu"):  # Imported modules have constants, which would have no values on the meta device.
            import transformers

            config, features = (getattr(transformers, name) for name in (self.kind.config, self.kind.features))
            make_network = self._class()
        _check_sizes(config, sizes or {})
        self.sizes = config(**sizes or {})
        self.longest_s = self.kind.longest_s(self.sizes)
        with torch.device("meta"):
            if sum(parameter.numel() for parameter in make_network(self.sizes).parameters()) > LARGEST_NETWORK:
                raise ValueError(f"the network has more than {LARGEST_NETWORK:,} weights")
        self.network = make_network(self.sizes)
        settings = {key: getattr(self.sizes, str(value), value) for key, value in self.kind.settings.items()}
        self.features = features(sampling_rate=sample_rate, **settings)
        depth = self.sizes.num_hidden_layers
        self.layers = ("input", *(f"layer{number}" for number in range(1, depth + 1)))
        if "frequency_min" in settings:  # Embeddings that earlier versions stored were of bands from 0 Hz.
            self.options["frequency_min"] = settings["frequency_min"]
        self.options["short"] = "as it is"  # Earlier versions padded short tracks with zeros to a whole window.
        if architecture == "ast" and window_s < self.sizes.max_length / 100:  # Earlier versions embedded the padding.
            self.options["padding"] = "left out"
        if architecture == "clap":  # All stages but the last halve mel bands and frames, and double the dimension.
            self.dimension = tuple(
                self.sizes.patch_embeds_hidden_size * 2 ** min(stage, depth - 1) for stage in range(depth + 1)
            )
        else:
            self.dimension = self.sizes.hidden_size

    def _class(self) -> Any:
        module, _, name = self.kind.network.rpartition(".")
        return getattr(import_module(f"transformers.models.{module}"), name)

    def load(self) -> None:
        """Load the pretrained weights into the network."""
        import transformers
        from safetensors.torch import load

        given, provenance = self.weights, self.provenance
        path = file_of(given) if given else hub_weights(self.repo, revision=provenance.revision)
        tensors = load(checked(self.name, provenance.sha256, path.read_bytes()))
        prefix = self.kind.prefix if any(key.startswith(self.kind.prefix) for key in tensors) else ""
        theirs = {key.removeprefix(prefix): values for key, values in tensors.items() if key.startswith(prefix)}
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            # `from_pretrained` knows the names that layers had in transformers when the file was written.
            loaded, report = self._class().from_pretrained(
                None, config=self.sizes, state_dict=theirs, output_loading_info=True
            )
        except RuntimeError as error:
            raise UserError(f"encoder={self.name}: the weights do not fit ({reason_of(error)}).") from error
        if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
            raise UserError(f"encoder={self.name}: the weights lack {', '.join(missing[:3])}; see encoder.sizes.")
        self.network.load_state_dict(loaded.state_dict())

    def embed(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers, ``(batch, layer, frame, dimension)``, for waveforms ``(batch, sample)``."""
        x = functional.pad(x, (0, max(0, math.ceil(SHORTEST_S * self.sample_rate) - x.shape[1])))
        waveforms = list(x.detach().float().cpu().numpy())
        inputs = self.features(waveforms, sampling_rate=self.sample_rate, return_tensors="pt").to(x.device, x.dtype)
        outputs = self.network(**inputs, output_hidden_states=True).hidden_states
        layers = [self.kind.to_frames(layer, self.sizes, x.shape[1], self.sample_rate) for layer in outputs]
        widest = max(self.dimensions)
        return torch.stack([functional.pad(layer, (0, widest - layer.shape[-1])) for layer in layers], 1)

    def blocks(self) -> list[nn.Module]:
        """Return the part of the network before its layers, and the layers."""
        return self.kind.blocks(self.network)
