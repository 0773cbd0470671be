-- Applies a batch of one partition of scores: an account changes only by a score with a greater seq.
-- ARGV after the four of `refusal`: then for each record its row and its data. A row without `q` is a tombstone; the
-- topics of alerts, states and actions take back themselves what they told.
-- What goes into keys that many accounts share is gathered and written at the end of the batch, a command for each key.
-- Most of what copying takes is spent here: no string is made, and nothing written, that can be done without.
local refused = refusal()
if refused then return refused end

local SORTS = {risk = 'r', mrr_at_risk = 'x', trend = 't'}
local KINDS = {'account', 'history', 'alerts', 'actions', 'marks'}
local EXACT = 2 ^ 53
local seen, sums, sadd, srem, sorted, unsorted, words_in, words_out

local function begin_gathering()
  seen, sums, sadd, srem, unsorted, words_in, words_out = {}, {}, {}, {}, {}, {}, {}
  sorted = {risk = {}, mrr_at_risk = {}, trend = {}}
end

local function gather(groups, name, id)
  local group = groups[name]
  if group then group[#group + 1] = id else groups[name] = {id} end
end

local function write_list(command, key, list)
  if #list > 0 then redis.call(command, prefix .. key, unpack(list)) end
end

local function write_gathered()
  for set, group in pairs(srem) do write_list('SREM', 'is:' .. set, group) end
  for set, group in pairs(sadd) do write_list('SADD', 'is:' .. set, group) end
  for sort, group in pairs(sorted) do
    write_list('ZREM', 'by:' .. sort, unsorted)
    write_list('ZADD', 'by:' .. sort, group)
  end
  write_list('ZREM', 'words', words_out)
  write_list('ZADD', 'words', words_in)
  for group, parts in pairs(sums) do
    for part, sum in pairs(parts) do
      if sum ~= 0 then redis.call('HINCRBY', prefix .. 'portfolio', group .. '|' .. part, int(sum)) end
    end
  end
  begin_gathering()
end

local function add(group, part, amount)
  local parts = sums[group]
  local sum = parts[part] + amount
  if math.abs(sum) >= EXACT then -- beyond this a number of Lua is rounded
    redis.call('HINCRBY', prefix .. 'portfolio', group .. '|' .. part, int(parts[part]))
    sum = amount
  end
  parts[part] = sum
end

local function count(row, sign)
  local group = row.g
  if not sums[group] then sums[group] = {accounts = 0, mrr = 0, coverage = 0} end
  add(group, 'accounts', sign)
  add(group, 'mrr', sign * row.m)
  add(group, 'coverage', sign * row.c)
end

local function recount(row, old)
  if old and row and old.g == row.g and old.m == row.m and old.c == row.c then return end
  if old then count(old, -1) end
  if row then count(row, 1) end
end

local function place(row, field, group)
  group[#group + 1] = row[field]
  group[#group + 1] = row.a
end

local function enter_word(word, id)
  words_in[#words_in + 1] = '0' -- as text: a number would be written out each time
  words_in[#words_in + 1] = word .. '\0' .. id
end

local function leave_word(word, id)
  words_out[#words_out + 1] = word .. '\0' .. id
end

local function enter_indexes(row)
  local id = row.a
  for sort, field in pairs(SORTS) do place(row, field, sorted[sort]) end
  for _, set in ipairs(row.i) do gather(sadd, set, id) end
  for _, word in ipairs(row.w) do enter_word(word, id) end
end

local function leave_indexes(row)
  local id = row.a
  unsorted[#unsorted + 1] = id
  for _, set in ipairs(row.i) do gather(srem, set, id) end
  for _, word in ipairs(row.w) do leave_word(word, id) end
end

local function is_same(old, new)
  if #old ~= #new then return false end
  for index, value in ipairs(new) do
    if old[index] ~= value then return false end
  end
  return true
end

-- Calls `leaving` and `entering` with what only the old list and only the new list has.
local function compare(old, new, leaving, entering)
  if is_same(old, new) then return end
  local known = {}
  for _, value in ipairs(old) do known[value] = true end
  for _, value in ipairs(new) do
    if known[value] then known[value] = nil else entering(value) end
  end
  for value in pairs(known) do leaving(value) end
end

local function move_in_indexes(row, old)
  local id = row.a
  for sort, field in pairs(SORTS) do
    if old[field] ~= row[field] then place(row, field, sorted[sort]) end
  end
  compare(old.i, row.i,
    function(set) gather(srem, set, id) end,
    function(set) gather(sadd, set, id) end)
  compare(old.w, row.w,
    function(word) leave_word(word, id) end,
    function(word) enter_word(word, id) end)
end

-- Gives the version of the model that took over on the row's day, or ''; a later score of that day takes nothing back.
local function new_model(key, row, old, stored)
  if row.y or (old and old.v ~= row.v) then
    redis.call('HSET', key, 'changed', int(row.d) .. ':' .. row.v)
    return row.v
  end
  local day, version = string.match(stored or '', '^(-?%d+):(.*)$')
  return tonumber(day) == row.d and version or ''
end

local function keep_history(key, row, old, model)
  local day = int(row.d)
  if redis.call('HSET', key, day, row.h .. ':' .. model) == 1 and old then
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
  local keys = {}
  for _, kind in ipairs(KINDS) do keys[#keys + 1] = prefix .. kind .. ':' .. row.a end
  local stored = redis.call('HMGET', keys[1], 'seq', 'off', 'row', 'changed', 'version')
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
    local counted = old and not old.z and old
    if seen[row.a] then write_gathered() end
    seen[row.a] = true
    recount(row.q and not row.z and row, counted)
    if not row.q then
      if counted then leave_indexes(old) end
      redis.call('HDEL', keys[1], 'seq', 'off', 'row', 'data', 'changed')
      redis.call('DEL', keys[2])
      for _, key in ipairs(keys) do redis.call('EXPIRE', key, ORPHAN_SECONDS) end
      erased[row.a] = true
    else
      redis.call('HSET', keys[1], 'seq', int(row.q), 'off', int(row.o), 'row', text, 'data', data)
      keep_history(keys[2], row, old, new_model(keys[1], row, old, stored[4]))
      if row.d > day then day = row.d end
      if row.z then
        if counted then leave_indexes(old) end
        for _, key in ipairs(keys) do redis.call('EXPIRE', key, int(row.z)) end
      else
        if old and old.z then
          for _, key in ipairs(keys) do redis.call('PERSIST', key) end
        elseif not old then -- alerts, actions and state may have come before, to stay for a time
          for index = 3, #keys do redis.call('PERSIST', keys[index]) end
          if stored[5] then redis.call('PERSIST', keys[1]) end
        end
        if counted then move_in_indexes(row, old) else enter_indexes(row) end
      end
      if live then
        redis.call('XADD', stream, 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'score', 'row', text, 'before',
          old and old.b or '')
      end
    end
  end
end
write_gathered()
if next(erased) then leave_stream('score', 'a', erased) end
advance()
if applied > 0 then
  if live then keep_day(day) else note_day(day) end
end
return applied
