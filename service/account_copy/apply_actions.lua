-- Applies a batch of one partition of what became of actions: the last ones of an account, and what its alerts are since.
-- ARGV after the four of `refusal`: then for each outcome its head and its data. A repeat changes nothing, an older
-- outcome never overwrites what a later one said. A head without `q` tells that an account was erased, by the digest of
-- its id alone: what was told of it before is forgotten.
local refused = refusal()
if refused then return refused end

local function note(key, field, seq, value)
  local stored = redis.call('HGET', key, field)
  if stored and tonumber(string.match(stored, '^%d+')) >= seq then return end
  redis.call('HSET', key, field, int(seq) .. ':' .. value)
end

-- An alert that is no longer kept needs no mark.
local function forget_old(key, alert)
  for _, known in ipairs(redis.call('HKEYS', key)) do
    local seq = tonumber(known)
    if seq and seq <= alert - ACCOUNT_ALERTS_MAX then redis.call('HDEL', key, known) end
  end
end

local live = is_live(now_ms())
local digests = prefix .. 'digests'
local applied = 0

local function forget(digest)
  local account = redis.call('HGET', digests, digest)
  if account then
    redis.call('DEL', prefix .. 'actions:' .. account, prefix .. 'marks:' .. account)
    redis.call('HDEL', digests, digest)
    leave_stream('action', 'x', {[digest] = true})
    applied = applied + 1
  end
end

local function take(head, text, data)
  local seq = int(head.q)
  local key, marks = prefix .. 'actions:' .. head.a, prefix .. 'marks:' .. head.a
  local known = redis.call('ZREMRANGEBYSCORE', key, seq, seq)
  redis.call('ZADD', key, seq, data)
  redis.call('ZREMRANGEBYRANK', key, 0, -ACCOUNT_ACTIONS_MAX - 1)
  if head.m then
    note(marks, int(head.l), head.q, head.m)
    forget_old(marks, head.l)
  end
  if head.e then note(marks, 'snooze', head.q, int(head.e)) end
  redis.call('HSET', digests, head.x, head.a)
  live_with(head.a, {key, marks})
  if known == 0 then
    applied = applied + 1
    if live then
      redis.call('XADD', prefix .. 'stream', 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'action', 'row', text, 'of',
        redis.call('HGET', prefix .. 'account:' .. head.a, 'row') or '')
    end
  end
end

for index = 5, #ARGV, 2 do
  local head = cmsgpack.unpack(ARGV[index])
  if not is_repeat(head.o) then
    if head.q then take(head, ARGV[index], ARGV[index + 1]) else forget(head.x) end
  end
end
advance()
return applied
