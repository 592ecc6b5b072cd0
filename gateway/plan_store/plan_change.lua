-- Makes one change of one model's plan, or says why not. All of it or nothing.
--
-- KEYS[1] {pointsman}:store              hash: format, lineage (of this store's life), generation (accepted changes so far)
-- KEYS[2] {pointsman}:plan:<model>       hash: revision, plan (JSON), token (of the write that made it)
-- KEYS[3] {pointsman}:history            stream, append only: change (JSON)
-- KEYS[4] {pointsman}:revisions:<model>  sorted set: stream id by revision
-- ARGV    1 format, 2 expected revision (0: no plan), 3 new revision, 4 plan, 5 change, 6 token, 7 channel
--
-- Answers {"ok", lineage, generation}, {"moved", revision} or {"format", what is written there}.
-- A token that is there already is this very write, sent again after its answer was lost: it is not made twice.

local format = redis.call('HGET', KEYS[1], 'format')
if format and format ~= ARGV[1] then
  return {'format', format}
end
local stored = redis.call('HGET', KEYS[2], 'revision') or '0'
if stored == ARGV[3] and redis.call('HGET', KEYS[2], 'token') == ARGV[6] then
  return {'ok', redis.call('HGET', KEYS[1], 'lineage'), redis.call('HGET', KEYS[1], 'generation')}
end
if stored ~= ARGV[2] then
  return {'moved', stored}
end
redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
redis.call('HSETNX', KEYS[1], 'lineage', ARGV[6])
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[2], 'revision', ARGV[3], 'plan', ARGV[4], 'token', ARGV[6])
local id = redis.call('XADD', KEYS[3], '*', 'change', ARGV[5])
redis.call('ZADD', KEYS[4], ARGV[3], id)
local lineage = redis.call('HGET', KEYS[1], 'lineage')
redis.call('PUBLISH', ARGV[7], lineage .. ' ' .. generation)
return {'ok', lineage, tostring(generation)}
