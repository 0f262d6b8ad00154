%%% ketama_tests.erl - tests ketama.erl with the real driver, real files and real signals
%%%
%%% Each test is a function of a temporary directory, and runs in its own process; it passes
%%% if it returns. ketama_tests:main(Vectors) runs them all and stops the VM.
-module(ketama_tests).
-behaviour(supervisor).
-export([main/1, init/1]).

-define(TWO, "127.0.0.1:11211 600\n127.0.0.1:11212 400\n").
-define(ONE(Address), Address " 1\n").

main(Vectors) ->
    ok = logger:set_primary_config(level, none), % the tests cause crash reports
    Tests = golden(Vectors) ++ ketama_tests_driver:all() ++ [
        {"a thousand concurrent callers get their own answers", fun(_) -> crowd(Vectors) end},
        {"a key is iodata or else UTF-8, at most 254 bytes", fun keys/1},
        {"without a server, getserver returns an error", fun not_running/1},
        {"a changed file is reloaded without a restart", fun changed_file/1},
        {"a server keeps its keys with its name", fun names/1},
        {"the dialect that the file states is spoken", fun dialects/1},
        {"an invalid file leaves the last valid version in use", fun invalid_file/1},
        {"start fails if the file is invalid or the driver cannot run", fun bad_start/1},
        {"a second server is rejected, and the first one keeps running", fun second/1},
        {"a stopped server returns the reason to its callers", fun stopped_server/1}
    ],
    Failed = [Name || {Name, Test} <- Tests, not passes(Name, Test)],
    io:format("~b tests, ~b failed~n", [length(Tests), length(Failed)]),
    halt(min(1, length(Failed))).

%% The exit of a test's process ends what the test started.
passes(Name, Test) ->
    Folder = string:trim(os:cmd("mktemp -d")),
    Begin = erlang:monotonic_time(millisecond),
    {Pid, Monitor} = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        Test(Folder),
        stop()
    end),
    Result = receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after 300000 -> % a hang, on however busy a machine
        exit(Pid, kill),
        "timeout after five minutes"
    end,
    os:cmd("rm -rf " ++ Folder),
    Seconds = (erlang:monotonic_time(millisecond) - Begin) / 1000,
    Word = case Result of normal -> "ok"; _ -> "FAILED" end,
    io:format("~ts: ~ts (~.1f s)~n", [Word, Name, Seconds]),
    Result =:= normal orelse io:format("    ~tp~n", [Result]),
    Result =:= normal.

stop() ->
    whereis(ketama) =:= undefined orelse gen_server:stop(ketama).

%% A supervisor of one server, with a restart intensity that the tests never reach.
init(File) ->
    Child = #{id => ketama, start => {ketama, start_link, [File]}},
    {ok, {#{intensity => 1000, period => 1}, [Child]}}.

%% The tests

golden(Vectors) ->
    {ok, Names} = file:list_dir(Vectors),
    [{"equal to the 2007 libketama: " ++ Name, fun(_) -> golden_one(Vectors, Name) end}
     || Name <- lists:sort(Names),
        filelib:is_regular(filename:join([Vectors, Name, "lookups.tsv"]))].

golden_one(Vectors, Name) ->
    start(Vectors, Name),
    Rows = rows(Vectors, Name),
    true = length(Rows) >= 200,
    [] = [Row || {Key, Address} = Row <- Rows,
                 ketama:getserver(Key) =/= case byte_size(Key) of
                     Size when Size > 254 -> {error, {key_too_long, Size}};
                     _ -> {ok, Address}
                 end].

start(Vectors, Name) ->
    {ok, _} = ketama:start_link(filename:join([Vectors, Name, "ketama.servers"])).

rows(Vectors, Name) ->
    {ok, Text} = file:read_file(filename:join([Vectors, Name, "lookups.tsv"])),
    [begin
        [Key, _, _, Address] = binary:split(Line, <<"\t">>, [global]),
        {Key, Address}
     end || Line <- binary:split(Text, <<"\n">>, [global, trim])].

crowd(Vectors) ->
    start(Vectors, "classic8"),
    Rows = [Row || {Key, _} = Row <- rows(Vectors, "classic8"), byte_size(Key) < 255],
    Ask = fun() ->
        receive go -> ok end,
        Some = [lists:nth(rand:uniform(length(Rows)), Rows) || _ <- lists:seq(1, 50)],
        exit([Row || {Key, Address} = Row <- Some, ketama:getserver(Key) =/= {ok, Address}])
    end,
    Callers = [spawn_monitor(Ask) || _ <- lists:seq(1, 1000)],
    [Pid ! go || {Pid, _} <- Callers],
    [receive {'DOWN', Monitor, process, _, Wrong} -> [] = Wrong end || {_, Monitor} <- Callers].

keys(Folder) ->
    {ok, _} = ketama:start_link(file(Folder, [[integer_to_list(N), ":1 1\n"]
                                              || N <- lists:seq(1, 100)])),
    Same = fun(A, B) -> {ok, _} = {_, _} = R = ketama:getserver(A), R = ketama:getserver(B) end,
    Same("user:42", <<"user:42">>),
    Same(["us", [$e, <<"r:">>] | <<"42">>], <<"user:42">>),
    Same("", <<>>),
    Same([16#fc, 0, 255], <<16#fc, 0, 255>>),
    Same([16#20ac], <<16#e2, 16#82, 16#ac>>),
    Same([16#fc, 16#20ac], <<16#c3, 16#bc, 16#e2, 16#82, 16#ac>>),
    {ok, _} = ketama:getserver(binary:copy(<<"x">>, 254)),
    [{error, {key_too_long, N}} = ketama:getserver(binary:copy(<<0>>, N))
     || N <- [255, 256, 100000]],
    {error, {key_too_long, 255}} = ketama:getserver(lists:duplicate(85, 16#20ac)),
    [{error, bad_key} = ketama:getserver(Key) || Key <- [user, 42, [user], [300, 16#d800]]],
    {ok, _} = ketama:getserver("the server still answers").

not_running(_) ->
    {error, not_running} = ketama:getserver("key").

changed_file(Folder) ->
    {ok, Pid} = ketama:start_link(file(Folder, ?ONE("old:1"))),
    {ok, <<"old:1">>} = ketama:getserver("key"),
    _ = file(Folder, ?ONE("new:1")),
    {ok, <<"new:1">>} = ketama:getserver("key"),
    Pid = whereis(ketama).

names(Folder) ->
    {ok, _} = ketama:start_link(file(Folder, "a:1 1 n\nb:1 1 m # a comment\n")),
    Old = answers(),
    [<<"a:1">>, <<"b:1">>] = lists:usort(Old),
    _ = file(Folder, "c:1 1 n\nb:1 1 m\n"),
    New = [case Address of <<"a:1">> -> <<"c:1">>; _ -> Address end || Address <- Old],
    New = answers(),
    _ = file(Folder, "c:1 1 other\nb:1 1 m\n"),
    true = New =/= answers().

%% libmemcached hashes "a" for a:11211, and "a:1" for a:1; libketama what it reads.
dialects(Folder) ->
    {ok, _} = ketama:start_link(file(Folder, "a:11211 2\nb:11211 2\n")),
    Own = answers(),
    _ = file(Folder, "#ketama profile=libmemcached\na:11211 2\nb:11211 2\n"),
    Stated = answers(),
    true = Own =/= Stated,
    _ = file(Folder, "#ketama profile=libmemcached\na:11211 2 a\nb:11211 2 b\n"),
    Stated = answers(),
    _ = file(Folder, "#ketama profile=libketama\na:11211 2\nb:11211 2\n"),
    Own = answers().

answers() ->
    [element(2, {ok, _} = ketama:getserver(integer_to_list(Key))) || Key <- lists:seq(1, 200)].

invalid_file(Folder) ->
    File = file(Folder, ?ONE("old:1")),
    {ok, Pid} = ketama:start_link(File),
    _ = file(Folder, "new:1 none\n"),
    {ok, <<"old:1">>} = ketama:getserver("key"),
    ok = file:delete(File),
    {ok, <<"old:1">>} = ketama:getserver("key"),
    _ = file(Folder, ?ONE("new:1")),
    {ok, <<"new:1">>} = ketama:getserver("key"),
    Pid = whereis(ketama).

bad_start(Folder) ->
    Missing = filename:join(Folder, "missing"),
    {error, {driver_failed, 1}} = ketama:start_link(Missing),
    {error, {driver_failed, 1}} = ketama:start_link(file(Folder, "a:1 0\n")),
    Good = file(Folder, ?TWO),
    {error, {driver_failed, enoent}} = ketama:start_link(Good, Missing),
    {error, {driver_failed, eacces}} = ketama:start_link(Good, Good),
    [{error, {driver_failed, 1}} = ketama:start_link() % the default
     || not filelib:is_file("/etc/ketama.servers")],
    undefined = whereis(ketama),
    {ok, _} = ketama:start_link(list_to_binary(Good)),
    {ok, _} = ketama:getserver("key").

second(Folder) ->
    File = file(Folder, ?TWO),
    {ok, Pid} = ketama:start_link(File),
    {error, {already_started, Pid}} = ketama:start_link(File),
    {ok, _} = ketama:getserver("key").

stopped_server(Folder) ->
    {ok, Pid} = ketama:start_link(file(Folder, ?TWO)),
    ok = sys:suspend(Pid),
    {Caller, Monitor} = spawn_monitor(fun() -> exit(ketama:getserver("key")) end),
    {status, waiting} = until(fun() -> process_info(Caller, status) end, {status, waiting}),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Caller, Result} -> {error, killed} = Result end.

%% Tools

%% Replaces the directory's server file atomically.
file(Folder, Text) ->
    File = filename:join(Folder, "ketama.servers"),
    ok = file:write_file(File ++ ".new", Text),
    ok = file:rename(File ++ ".new", File),
    File.

until(Fun, Expected) ->
    case Fun() of
        Expected -> Expected;
        _ -> timer:sleep(1), until(Fun, Expected)
    end.
