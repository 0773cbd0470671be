-- Applies a batch of one partition of scores: an account changes only by a score with a greater seq.
-- ARGV after the four of `refusal`: then for each record its row (JSON) and its data. A row without `q` is a tombstone.
local refused = refusal()
if refused then return refused end

local function leave_indexes(row)
  local id = row.a
  for _, sort in ipairs({'risk', 'mrr_at_risk', 'trend'}) do redis.call('ZREM', prefix .. 'by:' .. sort, id) end
  for _, set in ipairs(row.i) do redis.call('SREM', prefix .. 'is:' .. set, id) end
  for _, word in ipairs(row.w) do redis.call('ZREM', prefix .. 'words', word .. '\0' .. id) end
end

local function count(row, sign)
  local field = row.g .. '|'
  local counts = prefix .. 'portfolio'
  redis.call('HINCRBY', counts, field .. 'accounts', int(sign))
  redis.call('HINCRBY', counts, field .. 'mrr', int(sign * row.m))
  redis.call('HINCRBY', counts, field .. 'coverage', int(sign * row.c))
end

local function difference(old, new)
  local missing = {}
  local found = {}
  for _, value in ipairs(new) do found[value] = true end
  for _, value in ipairs(old) do
    if not found[value] then missing[#missing + 1] = value end
  end
  return missing
end

local function enter_indexes(row, old)
  local id = row.a
  redis.call('ZADD', prefix .. 'by:risk', row.r, id)
  redis.call('ZADD', prefix .. 'by:mrr_at_risk', row.x, id)
  redis.call('ZADD', prefix .. 'by:trend', row.t, id)
  local old_sets, old_words = {}, {}
  if old then old_sets, old_words = old.i, old.w end
  for _, set in ipairs(difference(old_sets, row.i)) do redis.call('SREM', prefix .. 'is:' .. set, id) end
  for _, set in ipairs(difference(row.i, old_sets)) do redis.call('SADD', prefix .. 'is:' .. set, id) end
  for _, word in ipairs(difference(old_words, row.w)) do redis.call('ZREM', prefix .. 'words', word .. '\0' .. id) end
  for _, word in ipairs(difference(row.w, old_words)) do redis.call('ZADD', prefix .. 'words', 0, word .. '\0' .. id) end
end

local function keep_history(key, row)
  local day = int(row.d)
  if redis.call('HSET', key, day, row.h) == 1 then
    for _, known in ipairs(redis.call('HKEYS', key)) do
      if tonumber(known) <= row.d - HISTORY_DAYS then redis.call('HDEL', key, known) end
    end
  end
end

local live = is_live(now_ms())
local stream = prefix .. 'stream'
local applied, day = 0, -1
for index = 5, #ARGV, 2 do
  local text, data = ARGV[index], ARGV[index + 1]
  local row = cjson.decode(text)
  local keys = {prefix .. 'account:' .. row.a, prefix .. 'history:' .. row.a, prefix .. 'alerts:' .. row.a}
  local stored = redis.call('HMGET', keys[1], 'seq', 'off', 'row')
  local old = stored[3] and cjson.decode(stored[3])
  local newer
  if row.q then
    newer = not stored[1] or row.q > tonumber(stored[1])
  else
    newer = stored[2] and row.o > tonumber(stored[2])
  end
  if newer then
    applied = applied + 1
    local counted = old and not old.z
    if counted then count(old, -1) end
    if not row.q then
      if counted then leave_indexes(old) end
      redis.call('DEL', unpack(keys))
      if live then redis.call('XADD', stream, 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'erased', 'row', text) end
    else
      redis.call('HSET', keys[1], 'seq', int(row.q), 'off', int(row.o), 'row', text, 'data', data)
      keep_history(keys[2], row)
      if row.d > day then day = row.d end
      if row.z then
        if counted then leave_indexes(old) end
        for _, key in ipairs(keys) do redis.call('EXPIRE', key, int(row.z)) end
      else
        if not old or old.z then
          for _, key in ipairs(keys) do redis.call('PERSIST', key) end
        end
        enter_indexes(row, counted and old or nil)
        count(row, 1)
      end
      if live then
        redis.call('XADD', stream, 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'score', 'row', text, 'before',
          old and old.b or '')
      end
    end
  end
end
advance()
if applied > 0 then
  if live then keep_day(day) else note_day(day) end
end
return applied
