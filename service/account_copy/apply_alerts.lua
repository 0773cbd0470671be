-- Applies a batch of one partition of alerts; a repeat of an alert takes the place of the one before.
-- ARGV after the four of `refusal`: then for each alert its head and its data. A head without `q` is a tombstone: what was
-- told before it is forgotten.
local refused = refusal()
if refused then return refused end

local live = is_live(now_ms())
local feed = prefix .. 'feed'
local applied = 0

local function forget(account)
  redis.call('DEL', prefix .. 'alerts:' .. account)
  for _, member in ipairs(redis.call('ZRANGE', feed, 0, -1)) do
    if string.match(member, '^%d+:(.*)$') == account then redis.call('ZREM', feed, member) end
  end
  leave_stream('alert', 'a', {[account] = true})
  applied = applied + 1
end

local function take(head, text, data)
  local seq = int(head.q)
  local member = seq .. ':' .. head.a
  local key = prefix .. 'alerts:' .. head.a
  local known = redis.call('ZREMRANGEBYSCORE', key, seq, seq)
  redis.call('ZADD', key, seq, data)
  redis.call('ZREMRANGEBYRANK', key, 0, -ACCOUNT_ALERTS_MAX - 1)
  live_with(head.a, {key})
  redis.call('ZADD', feed, int(head.t), member)
  if known == 0 then
    applied = applied + 1
    if live then redis.call('XADD', prefix .. 'stream', 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'alert', 'row', text) end
  end
end

for index = 5, #ARGV, 2 do
  local head = cmsgpack.unpack(ARGV[index])
  if not is_repeat(head.o) then
    if head.q then take(head, ARGV[index], ARGV[index + 1]) else forget(head.a) end
  end
end
redis.call('ZREMRANGEBYRANK', feed, 0, -FEED_MAX - 1)
advance()
return applied
