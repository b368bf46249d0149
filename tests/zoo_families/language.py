from zoo_small import Small

_TEXT = "int<50:N,16"
_BERT = Small({"layers": 2, "width": 32, "heads": 4, "vocab_size": 50}, _TEXT, rate=1e-2)
_GPT2 = Small({"layers": 2, "width": 32, "heads": 4, "vocab_size": 50}, _TEXT, rate=1e-2)
_LLAMA = Small({"layers": 2, "width": 32, "inner": 64, "heads": 4, "kv_heads": 2, "vocab_size": 50}, _TEXT, rate=1e-2)
_TRANSFORMER = Small(
    {"layers": 2, "width": 32, "heads": 4, "inner": 64, "vocab_size": 50}, "int<50:N,12 + int<50:N,16", overfits=60, rate=1e-2
)
_WHOLE = "torch.compile does not take recurrent layers into a whole graph"

SMALL = {
    "word2vec": Small({"vocab_size": 50, "width": 8}, "int<50:N,1 + int<50:N,60", rate=0.1),
    "lstm_layer": Small({"width": 8}, "float:5,N,8", rate=3e-2, compiles=_WHOLE),
    "gru_layer": Small({"width": 8}, "float:5,N,8", rate=3e-2, compiles=_WHOLE),
    "lstm_lm": Small({"width": 32, "vocab_size": 50}, "int<50:7,N", overfits=80, rate=6e-2, compiles=_WHOLE),
    "gru_lm": Small({"width": 32, "vocab_size": 50}, "int<50:7,N", overfits=80, rate=6e-2, compiles=_WHOLE),
    "transformer_base": _TRANSFORMER,
    "transformer_big": _TRANSFORMER,
    "bert_base": _BERT,
    "bert_large": _BERT,
    "gpt2": _GPT2,
    "gpt2_medium": _GPT2,
    "gpt2_large": _GPT2,
    "gpt2_xl": _GPT2,
    "t5_small": Small(
        {"layers": 2, "width": 32, "heads": 4, "head_width": 8, "inner": 64, "vocab_size": 50},
        "int<50:N,12 + ones:N,12 + int<50:N,16",
        rate=1e-2,
    ),
    "llama_3.2_1b": _LLAMA,
    "llama_3_8b": _LLAMA,
    "llama_2_7b": _LLAMA,
}
