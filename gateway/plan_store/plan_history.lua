-- The newest changes, newest first: of all models, or of one.
--
-- KEYS[1] {pointsman}:history            stream: change (JSON)
-- KEYS[2] {pointsman}:revisions:<model>  sorted set: stream id by revision; left out for all models
-- ARGV    1 how many, 2 the highest revision asked for or "+inf"
--
-- Answers the changes.

local entries = {}
if KEYS[2] then
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], ARGV[2], '-inf', 'LIMIT', 0, ARGV[1])) do
    entries[#entries + 1] = redis.call('XRANGE', KEYS[1], id, id)[1]
  end
else
  entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
end
local changes = {}
for number, entry in ipairs(entries) do
  changes[number] = entry[2][2]
end
return changes
