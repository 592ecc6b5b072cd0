-- Keeps the latest verdict of each variant and guard of one model, and of them only so many.
--
-- KEYS[1] {pointsman}:verdicts:<model>  hash: verdict (JSON) by variant/guard
-- KEYS[2] {pointsman}:judged:<model>    sorted set: variant/guard by when it was judged (microseconds)
-- ARGV    1 how many are kept, then for each verdict: variant/guard, when it was judged, verdict
--
-- Answers how many were newer than what was there.

local taken = 0
for at = 2, #ARGV, 3 do
  local known = redis.call('ZSCORE', KEYS[2], ARGV[at])
  if not known or tonumber(ARGV[at + 1]) >= tonumber(known) then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
    redis.call('ZADD', KEYS[2], ARGV[at + 1], ARGV[at])
    taken = taken + 1
  end
end
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
if over > 0 then
  for _, field in ipairs(redis.call('ZRANGE', KEYS[2], 0, over - 1)) do
    redis.call('HDEL', KEYS[1], field)
  end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, over - 1)
end
return taken
