"""Golden outputs and gradients of small GPT-2, BERT, ViT and MLP-Mixer, by HuggingFace's transformers and timm: weights as
those libraries save them, inputs, outputs, and the gradient of a fixed functional by every parameter, float32.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch==2.15.0 transformers==5.24.0 timm==1.0.31 safetensors==0.8.0
    /tmp/golden/bin/python tests/golden/make_transformers.py tests/golden/transformers
"""
import hashlib
import json
import pathlib
import sys

import safetensors
import timm
import torch
import transformers
from safetensors.torch import save_file
from timm.models.mlp_mixer import MlpMixer
from timm.models.vision_transformer import VisionTransformer
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel

SEED = 20220617


def fill(model):
    """Weights large enough that every path shows in the outputs."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (0.3 if parameter.dim() > 1 else 0.2))
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and name.endswith("weight"):  # a norm
                parameter.add_(1)
    return model.eval()


def differentiate(model, outputs, record):
    """Outputs and their inner product with fixed numbers, differentiated by every parameter."""
    generator = torch.Generator().manual_seed(SEED + 1)
    loss = 0
    for name, value in outputs.items():
        probe = torch.randn(value.shape, generator=generator)
        record["output." + name], record["probe." + name] = value.detach(), probe
        loss = loss + (value * probe).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        record["gradient." + name] = parameter.grad


def gpt2(folder):
    sizes = dict(n_embd=24, n_layer=2, n_head=3, n_positions=16, vocab_size=61, attn_pdrop=0.0, embd_pdrop=0.0,
                 resid_pdrop=0.0)
    model = fill(GPT2LMHeadModel(GPT2Config(**sizes)))
    model.save_pretrained(folder)
    ids = torch.randint(61, (3, 11), generator=torch.Generator().manual_seed(SEED))
    record = {"ids": ids}
    differentiate(model, {"logits": model(ids).logits}, record)
    scaled = GPT2LMHeadModel(GPT2Config(**sizes, scale_attn_by_inverse_layer_idx=True)).eval()
    scaled.load_state_dict(model.state_dict())
    record["scaled_logits"] = scaled(ids).logits.detach()
    return record


def bert(folder):
    model = fill(BertForPreTraining(BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=16,
        vocab_size=53, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)))
    model.save_pretrained(folder)
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(1, 53, (3, 11), generator=generator)  # 0 pads: its embedding gets no gradient there
    types = torch.randint(2, (3, 11), generator=generator)
    mask = torch.arange(11) < torch.tensor([[11], [7], [1]])
    outputs = model(input_ids=ids, token_type_ids=types, attention_mask=mask.long())
    record = {"ids": ids, "types": types, "mask": mask}
    # Only real tokens: nothing is promised for the others.
    differentiate(model, {"predictions": outputs.prediction_logits[mask],
                          "next_sentence": outputs.seq_relationship_logits}, record)
    return record


def image_model(model, folder):
    folder.mkdir(exist_ok=True)
    fill(model)
    save_file(model.state_dict(), folder / "model.safetensors")
    images = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(SEED))
    record = {"images": images}
    differentiate(model, {"logits": model(images)}, record)
    return record


def vit(folder):
    return image_model(VisionTransformer(img_size=(16, 12), patch_size=4, embed_dim=24, depth=2, num_heads=3,
                                         mlp_ratio=3, num_classes=5), folder)


def mixer(folder):
    return image_model(MlpMixer(img_size=(16, 12), patch_size=4, embed_dim=24, num_blocks=2, num_classes=5), folder)


root = pathlib.Path(sys.argv[1])
root.mkdir(exist_ok=True)
manifest = {"generator": "tests/golden/make_transformers.py", "torch": torch.__version__,
            "transformers": transformers.__version__, "timm": timm.__version__,
            "safetensors": safetensors.__version__, "seed": SEED, "sha256": {}}
for make in [gpt2, bert, vit, mixer]:
    folder = root / make.__name__
    record = make(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in record.items()}, folder / "golden.safetensors")
    for name in ["model.safetensors", "golden.safetensors"]:
        content = (folder / name).read_bytes()
        manifest["sha256"][f"{make.__name__}/{name}"] = hashlib.sha256(content).hexdigest()
(root / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
