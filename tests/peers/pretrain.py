"""Times a pre-training step in PyTorch, for comparison with `apet pretrain`.

    python tests/peers/pretrain.py --model DIR [--causal] [--steps N] [--threads N]

DIR is an encoder's directory, written by `apet pretrain`; only its config is used. A step has 32 sequences of
128 random tokens, of which 20 % are masked and predicted with the token table, as in `apet pretrain`: gradients of all
parameters, clipping, AdamW. Prints one JSON line: tokens a second, and the milliseconds of each step after the first three.
"""

import argparse
import json
import time

import torch
from transformers import BertConfig, BertModel


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--causal", action="store_true", help="predict every next token, as in the first steps")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(
        args.model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, is_decoder=args.causal
    )
    model = BertModel(config, add_pooling_layer=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    rows, length = 32, 128
    took = []
    for _ in range(args.steps + 3):
        ids = torch.randint(5, config.vocab_size, (rows, length))
        begun = time.perf_counter()
        states = model(ids).last_hidden_state
        if args.causal:
            states, answers = states[:, :-1].reshape(-1, config.hidden_size), ids[:, 1:].reshape(-1)
        else:
            masked = torch.rand(rows, length) < 0.2
            states, answers = states[masked], ids[masked]
        logits = states @ model.embeddings.word_embeddings.weight.T
        loss = torch.nn.functional.cross_entropy(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        took.append(1000 * (time.perf_counter() - begun))
    took = took[3:]
    middle = sorted(took)[len(took) // 2]
    print(json.dumps({"tokens_per_second": round(1000 * rows * length / middle), "ms": [round(t, 1) for t in took]}))


if __name__ == "__main__":
    main()
