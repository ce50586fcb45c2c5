#!/bin/sh
# How clients/cli/demo_utterance.wav was made: synthetic speech, 24 kHz mono PCM16, silence around it trimmed.
# Needs espeak-ng and sox; run it only to change the words.
set -eu
cd "$(dirname "$0")/.."
words="Hello Moshi. What is three plus four? ... Please spell the word: cat."
raw=$(mktemp --suffix=.wav)
trap 'rm -f "$raw"' EXIT
espeak-ng -v en-us -s 145 -p 45 -w "$raw" "$words"
sox -R "$raw" -r 24000 -b 16 -c 1 clients/cli/demo_utterance.wav \
	silence 1 0.05 0.5% reverse silence 1 0.05 0.5% reverse pad 0.2 0.4 gain -n -4
