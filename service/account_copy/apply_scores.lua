-- Applies a batch of one partition of scores: an account changes only by a score with a greater seq.
-- ARGV after the four of `refusal`: then for each record its row and its data. A row without `q` is a tombstone; the
-- topics of alerts and of states have their own.
-- What goes into keys that many accounts share is gathered and written at the end of the batch, a command for each key.
local refused = refusal()
if refused then return refused end

local SORTS = {risk = 'r', mrr_at_risk = 'x', trend = 't'}
local EXACT = 2 ^ 53
local seen, sums, sadd, srem, zadd, zrem

local function begin_gathering()
  seen, sums, sadd, srem, zadd, zrem = {}, {}, {}, {}, {}, {}
end

local function gather(groups, key, first, second)
  local group = groups[key]
  if not group then
    group = {}
    groups[key] = group
  end
  group[#group + 1] = first
  if second then group[#group + 1] = second end
end

local function write_gathered()
  for key, group in pairs(srem) do redis.call('SREM', prefix .. key, unpack(group)) end
  for key, group in pairs(sadd) do redis.call('SADD', prefix .. key, unpack(group)) end
  for key, group in pairs(zrem) do redis.call('ZREM', prefix .. key, unpack(group)) end
  for key, group in pairs(zadd) do redis.call('ZADD', prefix .. key, unpack(group)) end
  for field, sum in pairs(sums) do
    if sum ~= 0 then redis.call('HINCRBY', prefix .. 'portfolio', field, int(sum)) end
  end
  begin_gathering()
end

local function add(field, amount)
  local sum = (sums[field] or 0) + amount
  if math.abs(sum) >= EXACT then -- beyond this a number of Lua is rounded
    redis.call('HINCRBY', prefix .. 'portfolio', field, int(sums[field]))
    sum = amount
  end
  sums[field] = sum
end

local function count(row, sign)
  add(row.g .. '|accounts', sign)
  add(row.g .. '|mrr', sign * row.m)
  add(row.g .. '|coverage', sign * row.c)
end

local function leave_indexes(row)
  for sort in pairs(SORTS) do gather(zrem, 'by:' .. sort, row.a) end
  for _, set in ipairs(row.i) do gather(srem, 'is:' .. set, row.a) end
  for _, word in ipairs(row.w) do gather(zrem, 'words', word .. '\0' .. row.a) end
end

-- Calls `leaving` and `entering` with what only the old list and only the new list has.
local function compare(old, new, leaving, entering)
  local known = {}
  for _, value in ipairs(old) do known[value] = true end
  for _, value in ipairs(new) do
    if known[value] then known[value] = nil else entering(value) end
  end
  for value in pairs(known) do leaving(value) end
end

local function enter_indexes(row, old)
  local id = row.a
  for sort, field in pairs(SORTS) do
    if not old or old[field] ~= row[field] then gather(zadd, 'by:' .. sort, row[field], id) end
  end
  compare(old and old.i or {}, row.i,
    function(set) gather(srem, 'is:' .. set, id) end,
    function(set) gather(sadd, 'is:' .. set, id) end)
  compare(old and old.w or {}, row.w,
    function(word) gather(zrem, 'words', word .. '\0' .. id) end,
    function(word) gather(zadd, 'words', 0, word .. '\0' .. id) end)
end

local function keep_history(key, row, old)
  local day = int(row.d)
  if redis.call('HSET', key, day, row.h) == 1 and old then
    for _, known in ipairs(redis.call('HKEYS', key)) do
      if tonumber(known) <= row.d - HISTORY_DAYS then redis.call('HDEL', key, known) end
    end
  end
end

local live = is_live(now_ms())
local stream = prefix .. 'stream'
local applied, day, erased = 0, -1, {}
begin_gathering()
for index = 5, #ARGV, 2 do
  local text, data = ARGV[index], ARGV[index + 1]
  local row = cmsgpack.unpack(text)
  local keys = {prefix .. 'account:' .. row.a, prefix .. 'history:' .. row.a, prefix .. 'alerts:' .. row.a}
  local stored = redis.call('HMGET', keys[1], 'seq', 'off', 'row')
  local newer
  if is_repeat(row.o) then
    newer = false
  elseif row.q then
    newer = not stored[1] or row.q > tonumber(stored[1])
  else
    newer = stored[2] and row.o > tonumber(stored[2])
  end
  if newer then
    applied = applied + 1
    local old = stored[3] and cmsgpack.unpack(stored[3])
    local counted = old and not old.z
    if seen[row.a] then write_gathered() end
    seen[row.a] = true
    if counted then count(old, -1) end
    if not row.q then
      if counted then leave_indexes(old) end
      redis.call('HDEL', keys[1], 'seq', 'off', 'row', 'data')
      redis.call('DEL', keys[2])
      for _, key in ipairs(keys) do redis.call('EXPIRE', key, ORPHAN_SECONDS) end
      erased[row.a] = true
    else
      redis.call('HSET', keys[1], 'seq', int(row.q), 'off', int(row.o), 'row', text, 'data', data)
      keep_history(keys[2], row, old)
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
write_gathered()
if next(erased) then leave_stream('score', erased) end
advance()
if applied > 0 then
  if live then keep_day(day) else note_day(day) end
end
return applied
