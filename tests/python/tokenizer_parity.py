"""Compares token ids: reads `{"text": …, "ids": […], "chat": […], "chat_text": …}` lines made by us and encodes the same with transformers.

    tokenizer_parity.py TOKENIZER_FOLDER LINES.jsonl

Exits non-zero at the first difference and prints it.
"""

import json
import sys

from transformers import AutoTokenizer


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    compared = chats = 0
    with open(sys.argv[2], encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            theirs = tokenizer(record["text"], add_special_tokens=False)["input_ids"]
            if theirs != record["ids"]:
                sys.exit(f"ids differ for {record['text'][:200]!r}:\n  ours   {record['ids'][:60]}\n  theirs {theirs[:60]}")
            compared += 1
            if "chat" in record:
                rendered = tokenizer.apply_chat_template(record["chat"], tokenize=False, add_generation_prompt=True)
                if rendered != record["chat_text"]:
                    sys.exit(f"chat template differs:\n  ours   {record['chat_text']!r}\n  theirs {rendered!r}")
                chats += 1
    if compared == 0:
        sys.exit("no line was compared")
    print(f"{compared} texts and {chats} chats: the same")


if __name__ == "__main__":
    main()
