#pragma once
// Transformers and mixers in PyTorch, as peers of `monarch bench models`; run as `python -c`.

namespace monarch::bench {

/// Arguments: blocks, tokens and batch of a training step (ModelsCase), threads. Answers lines on stdin (see
/// models_worker.hpp) about the programs "eager" and "compiled" (torch.compile) of each model, written as nanoGPT,
/// HuggingFace's BERT with scaled_dot_product_attention, and timm's ViT and Mixer: packed q, k and v where those have
/// them, fused AdamW. "reference MODEL FILE" writes the weights under the published names, and an input with its logits
/// to FILE.io.
inline constexpr const char* kModelsScript = R"(
import os, sys, time
import torch
import torch.nn.functional as F
from torch import nn

answers = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)
depth, step_tokens, step_batch, threads = map(int, sys.argv[1:5])
torch.set_num_threads(threads)

def module(**children):
    made = nn.Module()
    for name, child in children.items():
        setattr(made, name, child)
    return made

def attend(q, k, v, heads, causal=False):
    split = lambda x: x.view(*x.shape[:2], heads, -1).transpose(1, 2)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal)
    return y.transpose(1, 2).reshape(q.shape)

class GptBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(768), nn.LayerNorm(768)
        self.attn = module(c_attn=nn.Linear(768, 3 * 768), c_proj=nn.Linear(768, 768))
        self.mlp = module(c_fc=nn.Linear(768, 4 * 768), c_proj=nn.Linear(4 * 768, 768))

    def forward(self, x):
        q, k, v = self.attn.c_attn(self.ln_1(x)).split(768, dim=2)
        x = x + self.attn.c_proj(attend(q, k, v, 12, True))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate='tanh'))

class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(50257, 768), nn.Embedding(1024, 768)
        self.h = nn.ModuleList(GptBlock() for _ in range(depth))
        self.ln_f = nn.LayerNorm(768)

    def forward(self, ids, last=False):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return F.linear(x[:, -1] if last else x.flatten(0, 1), self.wte.weight)

class BertBlock(nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda: nn.Linear(768, 768)
        norm = lambda: nn.LayerNorm(768, eps=1e-12)
        self.attention = module(output=module(dense=linear(), LayerNorm=norm()))
        setattr(self.attention, 'self', module(query=linear(), key=linear(), value=linear()))
        self.intermediate = module(dense=nn.Linear(768, 4 * 768))
        self.output = module(dense=nn.Linear(4 * 768, 768), LayerNorm=norm())

    def forward(self, x):
        inner, out = getattr(self.attention, 'self'), self.attention.output
        x = out.LayerNorm(x + out.dense(attend(inner.query(x), inner.key(x), inner.value(x), 12)))
        return self.output.LayerNorm(x + self.output.dense(F.gelu(self.intermediate.dense(x))))

class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        embeddings = module(word_embeddings=nn.Embedding(30522, 768), position_embeddings=nn.Embedding(512, 768),
                            token_type_embeddings=nn.Embedding(2, 768), LayerNorm=nn.LayerNorm(768, eps=1e-12))
        self.bert = module(embeddings=embeddings, pooler=module(dense=nn.Linear(768, 768)),
                           encoder=module(layer=nn.ModuleList(BertBlock() for _ in range(depth))))
        self.classifier = nn.Linear(768, 2)

    def forward(self, ids):
        e = self.bert.embeddings
        places = torch.arange(ids.shape[1])
        x = e.LayerNorm(e.word_embeddings(ids) + e.token_type_embeddings(torch.zeros_like(ids))
                        + e.position_embeddings(places))
        for layer in self.bert.encoder.layer:
            x = layer(x)
        return self.classifier(torch.tanh(self.bert.pooler.dense(x[:, 0])))

class VitBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(768), nn.LayerNorm(768)
        self.attn = module(qkv=nn.Linear(768, 3 * 768, bias=False), proj=nn.Linear(768, 768))
        self.mlp = module(fc1=nn.Linear(768, 3 * 768), fc2=nn.Linear(3 * 768, 768))

    def forward(self, x):
        q, k, v = self.attn.qkv(self.norm1(x)).split(768, dim=2)
        x = x + self.attn.proj(attend(q, k, v, 8))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))

class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(1e-6 * torch.randn(1, 1, 768))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 197, 768))
        self.patch_embed = module(proj=nn.Conv2d(3, 768, 16, 16))
        self.blocks = nn.ModuleList(VitBlock() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, images):
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))

class MixerBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(512, eps=1e-6), nn.LayerNorm(512, eps=1e-6)
        self.mlp_tokens = module(fc1=nn.Linear(196, 256), fc2=nn.Linear(256, 196))
        self.mlp_channels = module(fc1=nn.Linear(512, 2048), fc2=nn.Linear(2048, 512))

    def forward(self, x):
        mlp = lambda m, v: m.fc2(F.gelu(m.fc1(v)))
        x = x + mlp(self.mlp_tokens, self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + mlp(self.mlp_channels, self.norm2(x))

class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = module(proj=nn.Conv2d(3, 512, 16, 16))
        self.blocks = nn.ModuleList(MixerBlock() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(512, eps=1e-6), nn.Linear(512, 1000)

    def forward(self, images):
        x = self.stem.proj(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))

def example(name, job):
    count = {'step': 1 if name == 'gpt2' else step_batch, 'inference-1': 1, 'inference-32': 32}[job]
    if name == 'gpt2':
        tokens = step_tokens if job == 'step' else 128
        return torch.randint(50257, (count, tokens)), torch.randint(50257, (count * tokens,))
    if name == 'bert':
        return torch.randint(30522, (count, 128)), torch.randint(2, (count,))
    return torch.randn(count, 3, 224, 224), torch.randint(1000, (count,))

class Program:
    def __init__(self, name, way):
        torch.manual_seed(2)
        self.name = name
        self.model = {'gpt2': Gpt, 'bert': Bert, 'vit': Vit, 'mixer': Mixer}[name]()
        if name in ('gpt2', 'bert'):
            for p in self.model.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, std=0.02)
        self.call = torch.compile(self.model) if way == 'compiled' else self.model
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.examples = {}

    def run(self, job):
        x, target = self.examples[job]
        if job != 'step':
            self.model.eval()
            with torch.no_grad():
                self.call(x, last=True) if self.name == 'gpt2' else self.call(x)
            return
        self.model.train()
        F.cross_entropy(self.call(x), target).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

programs = {}
def program(name, way):
    for key in list(programs):
        if key[0] != name:
            del programs[key]
    if (name, way) not in programs:
        programs[name, way] = Program(name, way)
    return programs[name, way]

def seconds(name, way, job):
    try:
        p = program(name, way)
        if job not in p.examples:
            torch.manual_seed(1)
            p.examples[job] = example(name, job)
        start = time.perf_counter()
        p.run(job)
        return time.perf_counter() - start
    except Exception as error:
        if way != 'compiled':
            raise
        print(error, file=sys.stderr)
        return float('nan')

def reference(name, file):
    model = program(name, 'eager').model.eval()
    x = example(name, 'inference-1')[0]
    with torch.no_grad():
        torch.save({'input': x, 'logits': model(x)}, file + '.io')
    weights = model.state_dict()
    if name == 'gpt2':  # as HuggingFace stores them
        weights = {n: w.t().contiguous() if '.c_' in n and w.dim() == 2 else w for n, w in weights.items()}
    torch.save(dict(weights), file)
    return 'written'

for line in sys.stdin:
    question, *words = line.split()
    answer = {'time': seconds, 'reference': reference}[question](*words)
    print(answer, file=answers, flush=True)
)";

}  // namespace monarch::bench
