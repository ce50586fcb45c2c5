"""Steps on a record in the store that nothing may come between: each is one script of Redis and Valkey.

A record is one hash, so that it lives, expires and is evicted as a whole. `owner` is whoever may write it: one claim of
one gateway. A gateway that was halted, while another one took its conversation, finds somebody else there.
"""

from __future__ import annotations

from enum import StrEnum


class Reply(StrEnum):
    """How a step went."""

    DONE = "done"
    MISSING = "missing"
    """There is no such record, or not the frames that were expected."""
    TAKEN = "taken"
    """Somebody else owns it."""


WRITE = """
-- record; owner, state, time to live in ms, frames that it has (- writes all of it), frames then, pieces to drop, head,
-- the pieces' names to drop, and at the end a piece's name and the piece, if there is one
local had = redis.call('HMGET', KEYS[1], 'owner', 'frames')
if had[1] and had[1] ~= ARGV[1] then return 'taken' end
if ARGV[4] == '-' then redis.call('DEL', KEYS[1]) elseif had[2] ~= ARGV[4] then return 'missing' end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'state', ARGV[2], 'frames', ARGV[5], 'head', ARGV[7])
local dropped = tonumber(ARGV[6])
for i = 8, 7 + dropped do redis.call('HDEL', KEYS[1], ARGV[i]) end
if ARGV[8 + dropped] then redis.call('HSET', KEYS[1], ARGV[8 + dropped], ARGV[9 + dropped]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'done'
"""

CLAIM = """
-- record; owner, lease in ms: unless it went on under another key, or somebody else's lease is not over. Whoever has a
-- call is taken over from
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local had = redis.call('HMGET', KEYS[1], 'owner', 'state', 'lease_ms')
if not had[1] then return 'missing' end
if had[2] == 'gone' then return 'taken' end
if had[2] == 'claimed' and had[1] ~= ARGV[1] and tonumber(had[3] or 0) > now_ms then return 'taken' end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'state', 'claimed', 'lease_ms', string.format('%d', now_ms + ARGV[2]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 'done'
"""

RELEASE = """
-- record; owner, time to live in ms: anybody may claim it again
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner then return 'missing' end
if owner ~= ARGV[1] then return 'taken' end
redis.call('HSET', KEYS[1], 'state', 'lost')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'done'
"""

RETIRE = """
-- record; owner, time in ms: it goes on under another key, and for that time nobody can write or claim it
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 'taken' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'owner', '-', 'state', 'gone')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'done'
"""

DELETE = """
-- record; owner
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'done'
"""
