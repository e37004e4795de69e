"""What there is to choose from: every provider by name, with its licence, size and needs.
`restage4d doctor` lists it.

Sizes are those of the weights on disk; GPU memory is about what the model's own page says for its
usual input, not measured here.
"""

from restage4d.defaults import AUTO
from restage4d.errors import InputError
from restage4d.providers.entry import Entry

_HF = ("config.json", "model.safetensors")
_DIFFUSERS = ("model_index.json",)
_DA3 = "A Python of its own with: pip install depth-anything-3; name it in RESTAGE4D_DA3_PYTHON"
_MAP_ANYTHING = (
    "A Python of its own (3.10 or newer) with: pip install "
    "git+https://github.com/facebookresearch/map-anything.git@v1.1; name it in "
    "RESTAGE4D_MAP_ANYTHING_PYTHON"
)
_OWN = "Apache-2.0"
_BEST, _TAKEN = "the best whose weights are here (restage4d models)", "that of what it takes"
_TAPNET = "Clone github.com/google-deepmind/tapnet into the weights folder as {name}/tapnet"

_MEDIAPIPE = (
    "A Python of its own (3.9 to 3.12) with: pip install mediapipe==0.10.21; name it in "
    "RESTAGE4D_MEDIAPIPE_PYTHON"
)

ENTRIES: tuple[Entry, ...] = (
    Entry("masks", AUTO, _BEST, _TAKEN),
    Entry("masks", "grabcut", "colour, edges and flow; no weights", _OWN),
    Entry(
        "masks",
        "sam2",
        "SAM 2.1 large, video",
        "Apache-2.0",
        True,
        "facebook/sam2.1-hiera-large",
        _HF,
        0.9,
        8,
        ("transformers",),
        "models",
    ),
    Entry(
        "masks",
        "sam2-tiny",
        "SAM 2.1 tiny, video",
        "Apache-2.0",
        True,
        "facebook/sam2.1-hiera-tiny",
        _HF,
        0.16,
        4,
        ("transformers",),
        "models",
    ),
    Entry(
        "masks",
        "edgetam",
        "EdgeTAM, the light one",
        "Apache-2.0",
        True,
        "yonigozlan/EdgeTAM-hf",
        _HF,
        0.06,
        2,
        ("transformers", "timm", "torchvision"),
        "models",
        get="pip install timm, and the torchvision that fits your torch",
    ),
    Entry(
        "masks",
        "sam3",
        "SAM 3, finds the subject by words (--select-text)",
        "SAM License",
        True,
        "facebook/sam3",
        _HF,
        3.4,
        16,
        ("transformers",),
        "models",
        terms="Meta asks you to accept the SAM License on the hub first; it excludes military uses",
    ),
    Entry("masks", "mediapipe", "MediaPipe: silhouette of a person", "Apache-2.0", get=_MEDIAPIPE),
    Entry("cameras", AUTO, _BEST, _TAKEN),
    Entry("cameras", "sfm", "still, turning or COLMAP; no weights", _OWN),
    Entry(
        "cameras",
        "map-anything",
        "MapAnything: poses, in metres",
        "Apache-2.0",
        True,
        "facebook/map-anything-apache",
        _HF,
        2.25,
        16,
        get=_MAP_ANYTHING,
    ),
    Entry(
        "cameras",
        "depth-anything-3-base",
        "Depth Anything 3 base: poses",
        "Apache-2.0",
        True,
        "depth-anything/DA3-BASE",
        _HF,
        0.5,
        8,
        get=_DA3,
    ),
    Entry(
        "cameras",
        "depth-anything-3",
        "Depth Anything 3 large: poses",
        "CC BY-NC 4.0",
        False,
        "depth-anything/DA3-LARGE",
        _HF,
        1.6,
        16,
        get=_DA3,
    ),
    Entry("depth", AUTO, _BEST, _TAKEN),
    Entry("depth", "relief", "ground, wall and the subject as a relief; no weights", _OWN),
    Entry(
        "depth",
        "depth-anything-v2",
        "Depth Anything V2 small",
        "Apache-2.0",
        True,
        "depth-anything/Depth-Anything-V2-Small-hf",
        _HF,
        0.1,
        2,
        ("transformers",),
        "models",
    ),
    Entry(
        "depth",
        "depth-anything-v2-large",
        "Depth Anything V2 large",
        "CC BY-NC 4.0",
        False,
        "depth-anything/Depth-Anything-V2-Large-hf",
        _HF,
        1.34,
        6,
        ("transformers",),
        "models",
    ),
    Entry(
        "depth",
        "map-anything",
        "MapAnything: depth, in metres",
        "Apache-2.0",
        True,
        "facebook/map-anything-apache",
        _HF,
        2.25,
        16,
        get=_MAP_ANYTHING,
    ),
    Entry(
        "depth",
        "depth-anything-3-base",
        "Depth Anything 3 base: depth",
        "Apache-2.0",
        True,
        "depth-anything/DA3-BASE",
        _HF,
        0.5,
        8,
        get=_DA3,
    ),
    Entry(
        "depth",
        "depth-anything-3",
        "Depth Anything 3 large: depth",
        "CC BY-NC 4.0",
        False,
        "depth-anything/DA3-LARGE",
        _HF,
        1.6,
        16,
        get=_DA3,
    ),
    Entry(
        "depth",
        "mediapipe",
        "the relief, bent by MediaPipe's joints of a person",
        "Apache-2.0",
        get=_MEDIAPIPE,
    ),
    Entry("tracks", AUTO, _BEST, _TAKEN),
    Entry("tracks", "flow", "chained optical flow; no weights", _OWN),
    Entry(
        "tracks",
        "bootstapir",
        "BootsTAPIR, torch",
        "Apache-2.0",
        files=("bootstapir_checkpoint_v2.pt", "tapnet"),
        size=0.12,
        memory=8,
        modules=("einops", "tree"),
        get=_TAPNET.format(name="bootstapir")
        + ", put bootstapir_checkpoint_v2.pt beside it; pip install einops dm-tree",
    ),
    Entry(
        "tracks",
        "tapnext",
        "BootsTAPNext, torch",
        "Apache-2.0",
        files=("bootstapnext_ckpt.npz", "tapnet"),
        size=0.8,
        memory=8,
        modules=("einops", "torchvision"),
        get=_TAPNET.format(name="tapnext") + ", put bootstapnext_ckpt.npz beside it; "
        "pip install einops and a torchvision that fits your torch",
    ),
    Entry(
        "tracks",
        "cotracker3",
        "CoTracker3, offline",
        "CC BY-NC 4.0",
        False,
        files=("scaled_offline.pth", "co-tracker"),
        size=0.1,
        memory=12,
        get="Clone github.com/facebookresearch/co-tracker into the weights folder as "
        "cotracker3/co-tracker, put scaled_offline.pth of the hub's facebook/cotracker3 beside it "
        "(or use --download, which fetches both)",
    ),
    Entry("driving", "kinematic", "the draft driver: simple directions; no weights", _OWN),
    Entry(
        "driving",
        "wan2.1",
        "Wan 2.1 image-to-video 14B, 480p",
        "Apache-2.0",
        True,
        "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        _DIFFUSERS,
        90,
        40,
        ("diffusers", "transformers", "accelerate", "ftfy"),
        "models",
    ),
    Entry(
        "driving",
        "wan2.2",
        "Wan 2.2 image-to-video A14B",
        "Apache-2.0",
        True,
        "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        _DIFFUSERS,
        126,
        40,
        ("diffusers", "transformers", "accelerate", "ftfy"),
        "models",
    ),
    Entry(
        "driving",
        "wan2.2-5b",
        "Wan 2.2 5B, 720p",
        "Apache-2.0",
        True,
        "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        _DIFFUSERS,
        34,
        24,
        ("diffusers", "transformers", "accelerate", "ftfy"),
        "models",
    ),
    Entry(
        "driving",
        "ltx",
        "LTX-Video",
        "LTX-Video Open Weights License",
        False,
        "Lightricks/LTX-Video",
        _DIFFUSERS,
        28,
        12,
        ("diffusers", "transformers", "accelerate", "sentencepiece"),
        "models",
        terms="commercial use depends on your company's revenue and on the version: "
        "read the licence on the hub",
    ),
    Entry(
        "driving",
        "cogvideox",
        "CogVideoX 5B image-to-video",
        "CogVideoX License",
        False,
        "THUDM/CogVideoX-5b-I2V",
        _DIFFUSERS,
        22,
        16,
        ("diffusers", "transformers", "accelerate", "sentencepiece"),
        "models",
        terms="commercial use needs a registration with its makers",
    ),
    Entry(
        "driving",
        "svd",
        "Stable Video Diffusion XT; does not read the prompt",
        "Stability AI Community License",
        False,
        "stabilityai/stable-video-diffusion-img2vid-xt",
        _DIFFUSERS,
        9,
        12,
        ("diffusers", "transformers", "accelerate"),
        "models",
        terms="commercial use is free below a yearly revenue that the licence names; "
        "it must be accepted on the hub",
    ),
    Entry(
        "driving",
        "veo",
        "Google Veo, hosted by Google Cloud",
        "Google Cloud terms",
        modules=("google.genai", "httpx"),
        extra="hosted",
        key="GOOGLE_API_KEY",
        terms="paid; the first frame and the prompt are sent to Google",
    ),
    Entry(
        "driving",
        "runway",
        "Runway Gen-4 and others, hosted",
        "Runway API terms",
        modules=("runwayml", "httpx"),
        extra="hosted",
        key="RUNWAYML_API_SECRET",
        terms="paid; the first frame and the prompt are sent to Runway",
    ),
)


def find_entry(kind: str, name: str) -> Entry:
    """The provider of that name. Raises `InputError` listing those of its kind."""
    found = next((e for e in ENTRIES if (e.kind, e.name) == (kind, name)), None)
    if found is None:
        names = ", ".join(e.name for e in ENTRIES if e.kind == kind)
        raise InputError(
            f'There is no provider of {kind} called "{name}".',
            f"There are: {names}; see restage4d doctor.",
        )
    return found


def describe_terms(entry: Entry) -> str:
    """What a person must know before this provider is used; empty for most."""
    parts = []
    if not entry.commercial:
        parts.append(f"its licence ({entry.licence}) does not allow commercial use to everybody")
    if entry.terms:
        parts.append(entry.terms)
    return f"{entry.title}: {'; '.join(parts)}." if parts else ""
