-- Writes what was seen of one model's aliases, or says who was first. All of it or nothing.
--
-- KEYS[1] {pointsman}:aliases:<model>  hash: number, book (JSON), token (of the write that made it)
-- ARGV    1 expected number (0: no book), 2 new number, 3 book, 4 token
--
-- Answers {"ok"} or {"moved", number}. A token that is there already is this very write, sent again.

local stored = redis.call('HGET', KEYS[1], 'number') or '0'
if stored == ARGV[2] and redis.call('HGET', KEYS[1], 'token') == ARGV[4] then
  return {'ok'}
end
if stored ~= ARGV[1] then
  return {'moved', stored}
end
redis.call('HSET', KEYS[1], 'number', ARGV[2], 'book', ARGV[3], 'token', ARGV[4])
return {'ok'}
